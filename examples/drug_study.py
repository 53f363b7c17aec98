# %% [markdown]
# # drug_study

# %%
print(1)
