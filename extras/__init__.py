"""What the assignments do not ask for; both scripts are given numbers, sentences and figures from here."""
