# How the queries say a box, the one place. The paper trains five queries by Q-CTC:
#   grounding_alignment=(--num-queries 5 --alignment ctc --criterion query_ctc)
# Collapsing then merges equal neighbouring coordinates, and such a box has no path. Either can be chosen at the command
# line too: train.sh grounding/narvl_base DATA SAVE_DIR --alignment ctc --criterion query_ctc.
grounding_alignment=(--num-queries 5 --alignment position --criterion query_cross_entropy)
