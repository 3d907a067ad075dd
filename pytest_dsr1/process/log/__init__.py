"""One reader of logs for every engine: lines without prefixes, families of causes, the first cause."""
