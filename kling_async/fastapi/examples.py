"""A small valid request of each endpoint, for the documentation of the routes.

Stage: door. Before: schema. Source: service reference, the examples of each page.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..endpoints import Endpoint

_PICTURE = "https://host.example/picture.png"
_CLIP = "https://host.example/clip.mp4"
_SOUND = "https://host.example/sound.mp3"

_EXAMPLES: Mapping[str, Mapping[str, object]] = {
    "text2video": {"model_name": "kling-v2-6", "prompt": "A red bicycle in the rain", "duration": "5"},
    "image2video": {"image": _PICTURE, "prompt": "The waves begin to move"},
    "omni-video": {"prompt": "A kite over the cliffs", "aspect_ratio": "16:9"},
    "multi-image2video": {"image_list": [{"image": _PICTURE}], "prompt": "Two friends meet"},
    "motion-control": {
        "image_url": _PICTURE,
        "video_url": _CLIP,
        "character_orientation": "image",
        "mode": "std",
    },
    "video-extend": {"video_id": "825406034503692376"},
    "effects": {"effect_scene": "pet_lion_pro", "input": {"image": _PICTURE}},
    "avatar": {"image": _PICTURE, "sound_file": _SOUND},
    "lip-sync": {
        "input": {
            "mode": "text2video",
            "video_id": "827964097668337738",
            "text": "Hello",
            "voice_id": "girlfriend_1_speech02",
        }
    },
    "advanced-lip-sync": {
        "session_id": "850508686686064678",
        "face_choose": [
            {
                "face_id": "0",
                "sound_file": _SOUND,
                "sound_start_time": 0,
                "sound_end_time": 3000,
                "sound_insert_time": 1000,
            }
        ],
    },
    "multi-elements": {"session_id": "847570360458960960", "edit_mode": "removal", "prompt": "Remove <<<video_1>>>"},
    "tts": {"text": "Hello from the sea", "voice_id": "oversea_male1", "voice_language": "en"},
    "text-to-audio": {"prompt": "Fireworks at the spring festival", "duration": 3},
    "video-to-audio": {"video_url": _CLIP},
    "generations": {"prompt": "A puppy in the style of a cartoon"},
    "omni-image": {"prompt": "A cover for a magazine"},
    "multi-image2image": {"subject_image_list": [{"subject_image": _PICTURE}]},
    "expand": {
        "image": _PICTURE,
        "up_expansion_ratio": 0.1,
        "down_expansion_ratio": 0.1,
        "left_expansion_ratio": 0.5,
        "right_expansion_ratio": 0.5,
    },
    "virtual-try-on": {"human_image": _PICTURE, "cloth_image": _PICTURE},
    "ai-multi-shot": {"element_frontal_image": _PICTURE},
    "custom-voices": {"voice_name": "Grandmother", "voice_url": _SOUND},
    "custom-elements": {
        "element_name": "Hat",
        "element_description": "A red hat",
        "reference_type": "image_refer",
        "element_image_list": {"frontal_image": _PICTURE, "refer_images": [{"image_url": _PICTURE}]},
    },
    "solutions/e-commerce/goods_studio": {
        "contents": [{"type": "ref_image", "url": _PICTURE}, {"type": "goods_title", "text": "Umbrella"}],
        "settings": {"resolution": "720p", "aspect_ratio": "9:16", "duration": 15},
    },
}
_OF_OPERATIONS: Mapping[str, Mapping[str, object]] = {
    "text-to-video": {"prompt": "A red bicycle in the rain", "settings": {"duration": 5}},
    "image-to-video": {"contents": [{"type": "first_frame", "url": _PICTURE}]},
    "omni-video": {
        "contents": [{"type": "prompt", "text": "A kite over the cliffs"}],
        "settings": {"aspect_ratio": "16:9"},
    },
    "motion-control": {
        "contents": [{"type": "image", "url": _PICTURE}, {"type": "video", "url": _CLIP}],
        "settings": {"character_orientation": "image"},
    },
}


def example_of(row: Endpoint) -> Mapping[str, object] | None:
    """Give a valid request of an endpoint, if there is one here."""
    found = _EXAMPLES.get(row.name)
    return found if found is not None else _OF_OPERATIONS.get(row.name.partition("/")[0])
