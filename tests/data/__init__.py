"""Tests of a user's own data; the golden files of other tests lie here too."""
