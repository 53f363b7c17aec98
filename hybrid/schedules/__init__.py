"""What is done to one person: doses, signals, schedules, and the language in which they are typed."""
