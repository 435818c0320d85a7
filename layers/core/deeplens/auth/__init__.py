"""Who calls: API keys now, bearer tokens behind the same ``Principal``."""
