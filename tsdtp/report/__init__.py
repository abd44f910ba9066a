"""Tables from run records; reads records only."""

from tsdtp.report.frame import aggregate, to_frame
from tsdtp.report.render import load_report, save_report
from tsdtp.report.tables import Table, build_tables

__all__ = ["Table", "aggregate", "build_tables", "load_report", "save_report", "to_frame"]
