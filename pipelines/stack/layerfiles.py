"""Stacks as files that painting programs open: PSD, and OpenRaster (https://www.openraster.org).

Both hold the layers cut to their boxes, by name and in order, the flat picture as the merged one, and the recipe, so
that the job can be read back and the file knows whose it is. The same stack and recipe give the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np

from pipelines.files.media import Pixels
from pipelines.files.recipe import ORA_RECIPE, XMP_RECIPE
from pipelines.stack.layers import Layer, Stack

Recipe = Mapping[str, Any]

MAX_PSD_SIDE = 30_000  # of the format; beyond it is PSB
MAX_THUMBNAIL = 256
CHANNELS = (3, 0, 1, 2)  # alpha is stored first
ZIP_BEGINS = (1980, 1, 1, 0, 0, 0)  # what a zip can say at the earliest: a real time would change the bytes

XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:diorama="urn:diorama" {name}={recipe}/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def psd(stack: Stack, recipe: Recipe) -> bytes:
    """A Photoshop file. Its merged picture is stored by us: psd-tools alone would leave a black one.

    Raises:
        ValueError: a side beyond what the format can say.
    """
    from psd_tools.constants import ColorMode, Resource
    from psd_tools.psd import PSD
    from psd_tools.psd.header import FileHeader
    from psd_tools.psd.image_resources import ImageResource, ImageResources, VersionInfo
    from psd_tools.psd.layer_and_mask import (
        ChannelImageData,
        GlobalLayerMaskInfo,
        LayerAndMaskInformation,
        LayerInfo,
        LayerRecords,
    )
    from psd_tools.psd.tagged_blocks import TaggedBlocks

    width, height = stack.size
    if max(stack.size) > MAX_PSD_SIDE:
        raise ValueError(f"a PSD has sides of at most {MAX_PSD_SIDE:,} pixels, got {width} x {height}; make it smaller")
    header = FileHeader(width=width, height=height, channels=3, depth=8, color_mode=ColorMode.RGB)
    records, channels = zip(*(_psd_layer(layer) for layer in stack.layers), strict=True)
    version = VersionInfo(version=1, has_composite=True, writer="Diorama", reader="Diorama", file_version=1)
    packet = XMP.format(name=XMP_RECIPE, recipe=quoteattr(_json(recipe), {'"': "&quot;"}))
    resources = {Resource.VERSION_INFO: version, Resource.XMP_METADATA: packet.encode()}
    document = PSD(
        header=header,
        image_resources=ImageResources([(key, ImageResource(key=key, data=data)) for key, data in resources.items()]),
        layer_and_mask_information=LayerAndMaskInformation(
            layer_info=LayerInfo(len(records), LayerRecords(list(records)), ChannelImageData(list(channels))),
            global_layer_mask_info=GlobalLayerMaskInfo(),
            tagged_blocks=TaggedBlocks(),
        ),
        image_data=_merged(stack.flat, header),
    )
    stream = io.BytesIO()
    document.write(stream)
    return stream.getvalue()


def _psd_layer(layer: Layer) -> tuple[Any, Any]:
    """The record and the channels of one layer. Names are stored twice: in Mac Roman of old, and in Unicode."""
    from psd_tools.constants import ChannelID, Compression, Tag
    from psd_tools.psd.layer_and_mask import ChannelData, ChannelDataList, ChannelInfo, LayerRecord

    y0, x0, y1, x1 = layer.box
    old = layer.title.encode("mac_roman", "replace").decode("mac_roman")
    record = LayerRecord(top=y0, left=x0, bottom=y1, right=x1, name=old)
    record.tagged_blocks.set_data(Tag.UNICODE_LAYER_NAME, layer.title)
    channels = ChannelDataList()
    for channel in CHANNELS:
        data = ChannelData(Compression.RLE)
        data.set_data(np.ascontiguousarray(layer.inside[..., channel]).tobytes(), x1 - x0, y1 - y0, 8)
        place = ChannelID.TRANSPARENCY_MASK if channel == 3 else ChannelID(channel)
        record.channel_info.append(ChannelInfo(place, len(data.data) + 2))  # two bytes name the compression
        channels.append(data)
    return record, channels


def _merged(flat: Pixels, header: Any) -> Any:
    from psd_tools.constants import Compression
    from psd_tools.psd.image_data import ImageData

    data = ImageData(compression=Compression.RLE)
    data.set_data([np.ascontiguousarray(flat[..., channel]).tobytes() for channel in range(3)], header)
    return data


def openraster(stack: Stack, recipe: Recipe) -> bytes:
    """An OpenRaster file: a zip whose first member names the type, a list of layers from the top, and PNG files."""
    from PIL import Image

    width, height = stack.size
    image = ElementTree.Element("image", version="0.0.3", w=str(width), h=str(height), xres="72", yres="72")
    listed = ElementTree.SubElement(image, "stack")
    for number, layer in reversed(list(enumerate(stack.layers))):
        ElementTree.SubElement(
            listed,
            "layer",
            {
                "name": layer.title,
                "src": f"data/{number:03d}.png",
                "x": str(layer.box[1]),
                "y": str(layer.box[0]),
                "opacity": "1.0",
                "visibility": "visible",
                "composite-op": "svg:src-over",
            },
        )
    small = Image.fromarray(stack.flat)
    small.thumbnail((MAX_THUMBNAIL, MAX_THUMBNAIL))
    members = {
        "mimetype": b"image/openraster",
        "stack.xml": ElementTree.tostring(image, encoding="utf-8", xml_declaration=True),
        **{f"data/{number:03d}.png": _png(layer.inside) for number, layer in enumerate(stack.layers)},
        "mergedimage.png": _png(stack.flat),
        "Thumbnails/thumbnail.png": _png(np.asarray(small)),
        ORA_RECIPE: _json(recipe).encode(),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name, ZIP_BEGINS)  # stored and not deflated: PNG is deflated already
            member.create_system, member.external_attr = 3, 0o644 << 16  # else they tell the system it was made on
            archive.writestr(member, data)
    return stream.getvalue()


def _png(pixels: Pixels) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def _json(recipe: Recipe) -> str:
    """JSON in ASCII with one spelling: nothing in it means anything to XML but quotes and brackets."""
    return json.dumps(recipe, sort_keys=True, allow_nan=False, separators=(",", ":"))
