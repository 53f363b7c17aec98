"""What is asked of a saved bundle: predictions, its reach, a certificate, a check, a report; one file each."""
