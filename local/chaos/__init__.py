"""Kill and freeze services and functions while photos are uploaded; check afterwards that none was lost."""
