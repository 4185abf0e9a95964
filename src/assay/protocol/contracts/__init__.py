"""The contracts of the ledger: for each its records, its transactions, its rejections, and how they change state."""
