"""Chats of WhatsApp: messages, rules, answers and their delivery, free of any vendor."""
