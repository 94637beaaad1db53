"""What the runs of the chapter on loss scale balancing cost, and how many of them are stored."""

from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import costs as studies_costs
from mtlrepro.studies.lsb import plan
from mtlrepro.studies.setting import Setting


def exhibit(setting: Setting) -> Exhibit:
    """Show what all runs of the chapter cost, those of its plan."""
    return studies_costs.exhibit(setting, plan.experiments(setting), "costs")
