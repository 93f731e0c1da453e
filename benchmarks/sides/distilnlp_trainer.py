"""distilnlp as its documentation has it: `DistillationTrainer` with its defaults, so with the teacher's cache."""

import tempfile

from transformers import PrinterCallback, TrainingArguments

from benchmarks._harness import load_data
from benchmarks.sides._trainer import TimeEpochs, scores_of
from benchmarks.sides._work import EVALUATION_BATCH, WARM_UP_SHARE, Clock, load_models, read_job, report
from distilnlp import DistillationTrainer, LayerMap, Objective
from distilnlp.losses import AttentionScores, HiddenState, SoftTarget
from distilnlp.report.metrics import make_compute_metrics
from distilnlp.teachers import FrozenTeacher


def main() -> None:
    """Tokenise, train, evaluate."""
    job = read_job()
    tokenizer, teacher, student = load_models(job)
    task = load_data(job.rows, validation_rows=job.validation_rows)
    layer_map = LayerMap.of(job.pairs)
    terms = [SoftTarget(job.temperature), HiddenState(layer_map), AttentionScores(layer_map)]
    epochs = TimeEpochs()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=job.epochs,
            per_device_train_batch_size=job.batch_size,
            per_device_eval_batch_size=EVALUATION_BATCH,
            learning_rate=job.learning_rate,
            weight_decay=job.weight_decay,
            warmup_steps=int(WARM_UP_SHARE * job.steps),
            bf16=job.precision == "bf16",
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=job.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        clock = Clock()
        trainer = DistillationTrainer(
            model=student,
            teacher=FrozenTeacher(teacher, tokenizer),
            objective=Objective([(1.0, term) for term in terms]),
            args=arguments,
            train_dataset=task.train,
            eval_dataset=task.validation,
            max_length=job.max_length,
            compute_metrics=make_compute_metrics(task.metrics, task.problem_type),
            callbacks=[epochs],
        )
        clock.lap("tokenise")
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        clock.lap("train")
        result = trainer.evaluate()
        clock.lap("evaluate")
    report(job, clock, epochs.seconds, scores_of(result), job.precision)


if __name__ == "__main__":
    main()
