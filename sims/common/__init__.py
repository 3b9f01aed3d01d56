"""Parts shared by the commands: command line, folders, driving, problems, records."""
