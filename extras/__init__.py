"""What looks at a trained model, and what makes training comfortable."""
