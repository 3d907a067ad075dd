"""The fixtures of the tests that judge more than a target: answers, a gate, a curve, pairs."""
