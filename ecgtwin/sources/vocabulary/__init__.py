"""The words of reports: tables of wordings, and how a text is read by them."""
