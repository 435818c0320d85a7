"""librdkafka's in-memory cluster as a process: for a look at the demo where Java is missing, never for tests.

It keeps 5 MiB per partition, drops the oldest silently, knows no admin calls, and forgets everything when it stops.
Its only argument is the file that receives its address, ``host:port``.
"""

import ctypes
import sys
import time
from pathlib import Path

import confluent_kafka
from deeplens.events.topics import TOPICS

NOTICE = "NOTICE: Java 17 or Maven is missing: this is an in-memory broker that forgets everything when it stops."


def _library() -> ctypes.CDLL:
    """The librdkafka that confluent-kafka's wheel bundles."""
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    library = ctypes.CDLL(str(next(folder.glob("librdkafka*.so*"))))
    for name in ("rd_kafka_new", "rd_kafka_conf_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.rd_kafka_mock_topic_create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    return library


def main() -> None:
    library = _library()
    client = library.rd_kafka_new(0, library.rd_kafka_conf_new(), None, 0)
    cluster = library.rd_kafka_mock_cluster_new(client, 1)
    for topic in TOPICS:
        library.rd_kafka_mock_topic_create(cluster, topic.name.encode(), topic.partitions, 1)
    address = library.rd_kafka_mock_cluster_bootstraps(cluster).decode()
    print(NOTICE, address, flush=True)
    target = Path(sys.argv[1])
    writing = target.with_suffix(".tmp")
    writing.write_text(address)
    writing.replace(target)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
