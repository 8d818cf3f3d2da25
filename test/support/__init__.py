"""Helpers of the tests, by what they stand for or drive. A module here is imported as `support.…`."""
