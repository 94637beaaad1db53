import pytest
import torch
from street_samples import street_samples

from mtlrepro.data.stereo import DepthTarget, depth_target, hidden_in_right, match_error, warp_right


def test_depth_targets_of_a_known_camera():
    disparity = torch.tensor([[[[0.0, 10.0], [20.0, 40.0]]]])
    camera = {"focal": 200.0, "baseline": 0.5}
    expected = {
        "disparity_px": [[0, 10], [20, 40]],
        "depth_m": [[0, 10], [5, 2.5]],
        "inverse_depth": [[0, 0.1], [0.2, 0.4]],
        "disparity_raw01": [[0, 40961 / 65535], [81921 / 65535, 163841 / 65535]],
    }
    assert set(expected) == set(DepthTarget)
    for kind, values in expected.items():
        torch.testing.assert_close(
            depth_target(disparity, kind, width=128, **camera), torch.tensor([[values]], dtype=torch.float32)
        )


def test_each_image_has_its_own_camera():
    disparity = torch.full((2, 1, 3, 4), 4.0)
    depth = depth_target(disparity, "depth_m", focal=torch.tensor([8.0, 16.0]), baseline=torch.tensor([1.0, 2.0]))
    assert depth[0].unique().tolist() == [2.0]
    assert depth[1].unique().tolist() == [8.0]


def test_depth_does_not_depend_on_the_scale_of_the_image():
    full = depth_target(torch.tensor([[30.0]]), "depth_m", focal=2262.5, baseline=0.2)
    quarter = depth_target(torch.tensor([[7.5]]), "depth_m", focal=2262.5 / 4, baseline=0.2)
    torch.testing.assert_close(full, quarter)


def test_unknown_disparity_has_no_gradient_that_is_not_finite():
    disparity = torch.tensor([[0.0, 2.0]], requires_grad=True)
    depth_target(disparity, "depth_m", focal=1.0, baseline=1.0).sum().backward()
    assert disparity.grad.tolist() == [[0.0, -0.25]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "metres"}, "kind is 'metres'; accepted: disparity_px, disparity_raw01, inverse_depth, depth_m"),
        ({"kind": "disparity_raw01"}, "needs the width"),
        ({"kind": "depth_m", "focal": 1.0}, "baseline is None; depth_m needs both"),
        ({"kind": "inverse_depth", "baseline": 1.0}, "focal is None"),
    ],
)
def test_what_a_target_needs(arguments, message):
    with pytest.raises(ValueError, match=message):
        depth_target(torch.ones(1, 1), **arguments)


def test_right_view_warped_by_disparity_is_the_left_view():
    sample = street_samples(1)[0]
    image, right, disparity = (sample[key][None] for key in ("image", "right", "disparity"))
    warped = warp_right(right, disparity)
    counts = (disparity > 0) & (torch.arange(48) >= disparity)
    torch.testing.assert_close(warped.where(counts, 0), image.where(counts, 0), atol=1e-4, rtol=0)
    assert match_error(image, right, disparity) < 1e-4
    assert match_error(image, right, -disparity) > 0.05


def test_warping_by_half_a_pixel_is_the_mean_of_two():
    right = torch.tensor([[[[0.0, 1.0, 3.0, 7.0]]]])
    warped = warp_right(right, torch.full((1, 1, 1, 4), 0.5))
    torch.testing.assert_close(warped, torch.tensor([[[[0.0, 0.5, 2.0, 5.0]]]]))


def test_a_near_object_hides_what_is_left_of_it():
    disparity = torch.tensor([[[[2.0, 2, 2, 2, 2, 2, 5, 5, 2, 2]]]])
    # The object at 6, 7 covers columns 1, 2 of the right view, where 3, 4 would be; 0, 1 fall outside.
    assert hidden_in_right(disparity)[0, 0, 0].nonzero()[:, 0].tolist() == [0, 1, 3, 4]


def test_a_slanted_surface_hides_nothing_and_unknown_pixels_count_as_hidden():
    disparity = torch.arange(12).mul(0.4).add(1)[None, None, None]
    visible = ~hidden_in_right(disparity)
    assert visible[0, 0, 0, 2:].all()
    disparity[..., 6] = 0
    assert hidden_in_right(disparity)[0, 0, 0, 6]
