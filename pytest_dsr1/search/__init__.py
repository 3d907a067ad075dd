"""Search: the highest load that keeps a service level."""
