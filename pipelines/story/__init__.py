"""What a video of several scenes needs: cuts, scenes before it, and finished scenes used again."""
