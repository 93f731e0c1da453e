"""What models' answers and states say about a distillation: functions on numpy arrays, which need no model.

`calibration`: whether a model is as sure as it is right. `dark_knowledge`: what a teacher's answers hold beside the
labels. `representation`: how alike the layers of two models are. `gap`: students over the sizes of their teachers.
"""
