"""Fields of sounds, pictures and the library, as the reference lists them; joined by test_endpoints."""


def names(*lines: str) -> set[str]:
    return {name for line in lines for name in line.split()}


# Source: service reference, the tables of the create calls.
REFERENCE_MEDIA: dict[str, set[str]] = {
    "tts": names("text voice_id voice_language voice_speed"),
    "text-to-audio": names("prompt duration external_task_id callback_url"),
    "video-to-audio": names(
        "video_id video_url sound_effect_prompt bgm_prompt asmr_mode external_task_id callback_url",
    ),
    "generations": names(
        "model_name prompt negative_prompt image image_reference image_fidelity human_fidelity element_list resolution",
        "n aspect_ratio watermark_info callback_url external_task_id",
    ),
    "omni-image": names(
        "model_name prompt image_list element_list resolution result_type n series_amount aspect_ratio watermark_info",
        "callback_url external_task_id",
    ),
    "multi-image2image": names(
        "model_name prompt subject_image_list scene_image style_image n aspect_ratio watermark_info callback_url",
        "external_task_id",
    ),
    "expand": names(
        "image up_expansion_ratio down_expansion_ratio left_expansion_ratio right_expansion_ratio prompt n",
        "watermark_info callback_url external_task_id",
    ),
    "virtual-try-on": names("model_name human_image cloth_image callback_url external_task_id"),
    "ai-multi-shot": names("element_frontal_image callback_url external_task_id"),
    "custom-voices": names("voice_name voice_url video_id callback_url external_task_id"),
    "presets-voices": names("pageNum pageSize"),
    "delete-voices": names("voice_id"),
    "custom-elements": names(
        "element_name element_description reference_type element_image_list element_video_list element_voice_id",
        "tag_list callback_url external_task_id",
    ),
    "presets-elements": names("pageNum pageSize"),
    "delete-elements": names("element_id"),
}
# An `image_list` holds `image` in omni-image and `image_url` in omni-video.
NESTED_MEDIA: dict[str, set[str]] = {
    "image_list": {"image"},
    "element_list": {"element_id"},
    "watermark_info": {"enabled"},
    "subject_image_list": {"subject_image"},
    "element_image_list": {"frontal_image", "refer_images"},
    "refer_images": {"image_url"},
    "element_video_list": {"refer_videos"},
    "refer_videos": {"video_url"},
    "tag_list": {"tag_id"},
}
