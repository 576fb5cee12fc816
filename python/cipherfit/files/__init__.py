"""The steps of encrypted prediction on files: tables in, messages between two sides, answers out."""
