"""What a chapter's notebook is made of: parameters, figures, tables, the stored form."""
