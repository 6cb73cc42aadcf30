"""Its being here makes pytest put the folder above, where the scripts are, on the import path."""
