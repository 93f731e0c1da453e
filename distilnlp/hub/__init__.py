"""Publishes a trained model on the Hugging Face Hub."""

from distilnlp.hub.push import push

__all__ = ["push"]
