"""
Grafana's JSON data sources: SimpleJson, as the original spoke it, and simPod's, its successor.
"""
