"""Tests of the tasks and of how they are sent."""
