"""Users, clients and what they were given, in the schema ``nextgen_identity`` of the platform database."""
