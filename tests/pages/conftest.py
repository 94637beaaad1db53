import matplotlib as mpl
import pytest
import torch

from mtlrepro.pages import figures as plots


@pytest.fixture(autouse=True)
def settings():
    """Chapters set the figure style and the number of threads of the process."""
    threads = torch.get_num_threads()
    with mpl.rc_context():
        plots.use_style()
        yield
    torch.set_num_threads(threads)
