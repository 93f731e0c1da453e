"""distilnlp as its documentation has it: `DistillationTrainer` with its defaults, so with the teacher's cache."""

import tempfile

from benchmarks._harness import load_data, make_trainer
from benchmarks.sides._trainer import TimeEpochs, scores_of, training
from benchmarks.sides._work import Clock, load_models, read_job, report
from distilnlp import LayerMap, Objective
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
        clock = Clock()
        trainer = make_trainer(
            folder=folder,
            training=training(job),
            model=student,
            teacher=FrozenTeacher(teacher, tokenizer),
            objective=Objective([(1.0, term) for term in terms]),
            train_dataset=task.train,
            eval_dataset=task.validation,
            max_length=job.max_length,
            compute_metrics=make_compute_metrics(task.metrics, task.problem),
            callbacks=[epochs],
        )
        clock.lap("tokenise")
        trainer.train()
        clock.lap("train")
        result = trainer.evaluate()
        clock.lap("evaluate")
    report(job, clock, epochs.seconds, scores_of(result), job.precision)


if __name__ == "__main__":
    main()
