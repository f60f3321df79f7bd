"""How fast Specter is: micro-benchmarks (``perf.micro``) and the table of budgets (``perf.bench``)."""
