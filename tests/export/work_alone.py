"""Opens an exported model and predicts; prints what was found and imported.

``python work_alone.py FOLDER IMAGE``; the package alone is imported.
"""

import json
import sys

import convnext_dense as cd

model = cd.load(sys.argv[1])
result = model(sys.argv[2], threshold=0)
tiled = model(sys.argv[2], tile=120, threshold=0)
found = dict(
    boxes=result.boxes.tolist(),
    scores=result.scores.tolist(),
    tiled=len(tiled),
    imported=sorted({name.split(".")[0] for name in sys.modules}),
)
print(json.dumps(found))
