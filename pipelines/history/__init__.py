"""What was rendered: searched, rated, compared, thrown away, restored and reproduced."""
