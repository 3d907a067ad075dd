"""Who answers: the Engine protocol, request records, and one module an engine."""
