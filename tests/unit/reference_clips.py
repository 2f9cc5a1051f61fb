"""Fields as the references list them: the calls that make clips from other material, and the calls around them."""

from typing import Any

from kling_async.endpoints.clips import ClipImage, EffectInput
from kling_async.endpoints.lips import FaceChoose, LipSyncInput
from kling_async.endpoints.scenes import SelectionPoint


def names(*lines: str) -> set[str]:
    return {name for line in lines for name in line.split()}


# Source: service reference, the tables of each create call; "Image Recognition" and `model_name` of "Multi-Elements":
# a gateway's.
REFERENCE_CLIPS: dict[str, set[str]] = {
    "multi-image2video": names(
        "model_name image_list prompt negative_prompt mode duration aspect_ratio callback_url external_task_id"
    ),
    "motion-control": names(
        "model_name prompt image_url video_url element_list keep_original_sound character_orientation mode",
        "watermark_info callback_url external_task_id",
    ),
    "video-extend": names("video_id prompt negative_prompt cfg_scale callback_url external_task_id"),
    "effects": names("effect_scene input callback_url external_task_id"),
    "avatar": names("image audio_id sound_file prompt mode watermark_info callback_url external_task_id"),
    "lip-sync": names("input callback_url external_task_id"),
    "advanced-lip-sync": names("session_id face_choose watermark_info callback_url external_task_id"),
    "identify-face": {"video_id", "video_url"},
    "image-recognize": {"image"},
    "multi-elements": names(
        "model_name session_id edit_mode image_list prompt negative_prompt mode duration watermark_info callback_url",
        "external_task_id",
    ),
    "init-selection": {"video_id", "video_url"},
    "add-selection": {"session_id", "frame_index", "points"},
    "delete-selection": {"session_id", "frame_index", "points"},
    "clear-selection": {"session_id"},
    "preview-selection": {"session_id"},
}

# Fields of the objects inside, by the name of the field that holds them; `input` is of two endpoints.
NESTED_CLIPS: dict[str, set[str]] = {
    "image_list": {"image"},
    "element_list": {"element_id"},
    "watermark_info": {"enabled"},
    "input": names(
        "image images model_name mode duration",
        "video_id video_url text voice_id voice_language voice_speed audio_type audio_file audio_url",
    ),
    "face_choose": names(
        "face_id audio_id sound_file sound_start_time sound_end_time sound_insert_time sound_volume",
        "original_audio_volume",
    ),
    "points": {"x", "y"},
}

# Endpoint and field → class of the object, or of each object of the list. The same name is not always the same class.
CLASSES_CLIPS: dict[tuple[str, str], type[Any]] = {
    ("multi-image2video", "image_list"): ClipImage,
    ("multi-elements", "image_list"): ClipImage,
    ("effects", "input"): EffectInput,
    ("lip-sync", "input"): LipSyncInput,
    ("advanced-lip-sync", "face_choose"): FaceChoose,
    ("add-selection", "points"): SelectionPoint,
    ("delete-selection", "points"): SelectionPoint,
}
