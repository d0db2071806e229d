DEMO = {}
