import torch
from street_samples import street_samples

from mtlrepro.data.stereo import hidden_in_right, match_error, to_mtan, warp_right


def test_depth_of_the_mtan_packs():
    disparity = torch.tensor([[0.0, 10.0], [20.0, 40.0]])
    expected = torch.tensor([[0, 40961 / 65535], [81921 / 65535, 163841 / 65535]])
    torch.testing.assert_close(to_mtan(disparity, 128), expected)


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
