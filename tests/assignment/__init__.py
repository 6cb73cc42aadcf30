"""Checks of any solution of the assignments: pytest tests/assignment --solution PATH"""
