"""Everything a person or a CI server reads: terminal, pages, Markdown, JUnit, annotations."""
