"""The steps of encrypted prediction on files: tables in, messages between sides, answers out."""
