"""All messages and enums of the API, by their names in proto/recsys/v1."""

from recsys.v1.catalog_pb2 import *  # noqa: F403
from recsys.v1.recommender_pb2 import *  # noqa: F403
from recsys.v1.types_pb2 import *  # noqa: F403
