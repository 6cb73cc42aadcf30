"""A package, so that the checks in tests/assignment find what the tests share."""
