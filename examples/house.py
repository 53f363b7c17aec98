# %% [markdown]
# # house

# %%
print(1)
