"""What people confirm by mail: new passwords and invitations; and notices of changes to their credentials."""
