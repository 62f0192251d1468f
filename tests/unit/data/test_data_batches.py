"""Batches, augmentation and normalization, checked against what they are by definition."""

import pytest
import torch

from edgekd.data import Images, Normalization, augment, batches, estimate_normalization, normalize
from edgekd.errors import DataError, UnknownNameError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(count, size=(1, 8, 8)):
    """Return images whose pixels are the number of the image."""
    x = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, *size).contiguous()
    return Images(x=x, y=torch.arange(count) % 3, ids=tuple(str(index) for index in range(count)))


class TestBatches:
    def test_without_a_generator_the_samples_come_in_order(self):
        seen = list(batches(numbered(10), 4))
        assert [len(x) for x, _, _ in seen] == [4, 4, 2]
        assert torch.cat([index for _, _, index in seen]).tolist() == list(range(10))

    def test_a_generator_shuffles_images_labels_and_positions_alike(self):
        images = numbered(100)
        seen = list(batches(images, 32, generator=generator()))
        x, y, index = (torch.cat(column) for column in zip(*seen, strict=True))
        assert sorted(index.tolist()) == list(range(100))
        assert index.tolist() != list(range(100))
        assert x[:, 0, 0, 0].tolist() == index.tolist()
        assert y.tolist() == (index % 3).tolist()

    def test_the_generator_alone_decides(self):
        def passes(seed):
            own = generator(seed)
            return [
                x
                for _ in range(2)
                for x, _, _ in batches(numbered(40), 40, generator=own, augmentations=("crop", "flip"))
            ]

        first, again, other = passes(1), passes(1), passes(2)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first[0], first[1])
        assert not torch.equal(first[0], other[0])

    @pytest.mark.parametrize(("count", "expected"), [(10, [4, 4]), (8, [4, 4]), (3, [])])
    def test_an_incomplete_last_batch_can_be_left_out(self, count, expected):
        assert [len(x) for x, _, _ in batches(numbered(count), 4, drop_last=True)] == expected

    def test_the_images_are_not_changed(self):
        images = numbered(20)
        before = images.x.clone()
        for x, _, _ in batches(images, 7, generator=generator(), augmentations=("crop", "flip")):
            x.zero_()
        assert torch.equal(images.x, before)

    @pytest.mark.parametrize(("size", "augmentations"), [(0, ()), (4, ("flip",))], ids=["size", "no generator"])
    def test_misuse_is_told_at_the_call(self, size, augmentations):
        with pytest.raises(ValueError, match=r"batch_size is at least 1|augmentations need a generator"):
            batches(numbered(4), size, augmentations=augmentations)

    def test_an_unknown_augmentation_is_told_at_the_call_with_the_nearest(self):
        with pytest.raises(UnknownNameError, match=r"augmentation: .*'flop'.*Did you mean 'flip'\?.*crop, flip"):
            batches(numbered(4), 2, generator=generator(), augmentations=("flop",))


class TestAugment:
    def test_every_crop_is_a_shift_by_at_most_an_eighth_filled_with_zeros(self):
        height, width = 16, 24
        x = torch.randint(1, 256, (400, 3, height, width), generator=generator(), dtype=torch.uint8)
        cropped = augment(x, ("crop",), generator(1))
        seen = set()
        for image, result in zip(x, cropped, strict=True):
            shifts = []
            for down in range(-2, 3):
                for right in range(-3, 4):
                    expected = torch.zeros_like(image)
                    source = image[:, max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
                    top, left = max(0, down), max(0, right)
                    expected[:, top : top + source.shape[1], left : left + source.shape[2]] = source
                    if torch.equal(expected, result):
                        shifts.append((down, right))
            assert len(shifts) == 1
            seen.update(shifts)
        # 5 * 7 shifts; the chance that 400 draws miss a given one is (34/35)^400 = 1e-5.
        assert len(seen) == 35

    def test_a_flip_mirrors_about_half_of_the_images_and_leaves_the_others(self):
        x = torch.randint(0, 256, (1000, 3, 4, 5), generator=generator(), dtype=torch.uint8)
        result = augment(x, ("flip",), generator(1))
        is_mirrored = (result == x.flip(3)).flatten(1).all(1)
        is_same = (result == x).flatten(1).all(1)
        assert bool((is_mirrored ^ is_same).all())
        # Five standard deviations of a fair coin: 5 * sqrt(1000) / 2 = 79.
        assert abs(int(is_mirrored.sum()) - 500) < 79

    def test_no_names_change_nothing(self):
        x = numbered(5).x
        assert torch.equal(augment(x, (), generator()), x)

    def test_small_images_are_not_shifted(self):
        x = torch.randint(0, 256, (9, 1, 7, 7), generator=generator(), dtype=torch.uint8)
        assert torch.equal(augment(x, ("crop",), generator()), x)

    def test_an_unknown_name_is_refused(self):
        with pytest.raises(UnknownNameError, match="'mixup'"):
            augment(numbered(2).x, ("mixup",), generator())


class TestNormalization:
    def test_it_is_the_formula(self):
        x = torch.tensor([0, 51, 255, 102], dtype=torch.uint8).reshape(1, 2, 1, 2)
        result = normalize(x, Normalization(mean=(0.5, 0.2), std=(0.25, 0.4)))
        # (0 - 0.5) / 0.25, (0.2 - 0.5) / 0.25, (1 - 0.2) / 0.4, (0.4 - 0.2) / 0.4
        expected = torch.tensor([-2.0, -1.2, 2.0, 0.5]).reshape(1, 2, 1, 2)
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, expected)

    def test_the_estimate_makes_mean_zero_and_deviation_one(self):
        x = torch.randint(0, 200, (3000, 3, 4, 4), generator=generator(), dtype=torch.uint8)
        x[:, 1] //= 3
        images = Images(x=x, y=torch.zeros(3000, dtype=torch.int64), ids=tuple(map(str, range(3000))))
        result = normalize(x, estimate_normalization(images)).double()
        torch.testing.assert_close(result.mean(dim=(0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
        torch.testing.assert_close(result.std(dim=(0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-5, rtol=0)

    def test_two_values_give_their_middle_and_half_their_distance(self):
        x = torch.tensor([51, 153], dtype=torch.uint8).reshape(2, 1, 1, 1)
        images = Images(x=x, y=torch.zeros(2, dtype=torch.int64), ids=("a", "b"))
        estimate = estimate_normalization(images)
        assert estimate.mean == pytest.approx((0.4,))  # (0.2 + 0.6) / 2
        assert estimate.std == pytest.approx((0.2,))

    def test_a_channel_without_variation_is_refused(self):
        x = torch.randint(0, 256, (5, 2, 2, 2), generator=generator(), dtype=torch.uint8)
        x[:, 1] = 7
        images = Images(x=x, y=torch.zeros(5, dtype=torch.int64), ids=tuple("abcde"))
        with pytest.raises(DataError, match=r"normalization: .*one value everywhere.*give mean and std"):
            estimate_normalization(images)

    @pytest.mark.parametrize(
        ("mean", "std"), [((), ()), ((0.5,), (0.5, 0.5)), ((0.5,), (0.0,)), ((0.5,), (float("nan"),))]
    )
    def test_impossible_statistics_are_refused(self, mean, std):
        with pytest.raises(ValueError, match=r"one mean and one std|above 0"):
            Normalization(mean=mean, std=std)

    @pytest.mark.parametrize(
        "x", [torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.zeros(1, 3, 2, 2)], ids=["channels", "floats"]
    )
    def test_images_that_do_not_fit_are_refused(self, x):
        with pytest.raises(ValueError, match=r"uint8 \[batch, 3, height, width\]"):
            normalize(x, Normalization(mean=(0.5,) * 3, std=(0.5,) * 3))
