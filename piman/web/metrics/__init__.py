"""
What Prometheus is told: the catalogue of metrics, where their values come from, and ``/metrics``.
"""
