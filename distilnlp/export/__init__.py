"""Models of transformers as ONNX files: traced, quantised, written."""
