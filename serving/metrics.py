"""What is counted, under the names that are usual for servers of language models."""

from functools import partial

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Made once a registry, after BentoML has said where the numbers of its workers meet."""

    def __init__(self, registry: CollectorRegistry = REGISTRY):
        gauge = partial(Gauge, registry=registry)
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        seconds = partial(histogram, buckets=_SECONDS)
        self.waiting = gauge("zoo_requests_waiting", "Texts that wait", multiprocess_mode="livesum")
        self.queue_seconds = seconds("zoo_request_queue_time_seconds", "From arrival to reading")
        self.first_token_seconds = seconds(
            "zoo_time_to_first_token_seconds", "From arrival to the first token"
        )
        self.between_tokens_seconds = seconds(
            "zoo_inter_token_latency_seconds", "From step to step of a model"
        )
        self.batch_rows = histogram(
            "zoo_batch_size", "Rows of a step", buckets=[2**i for i in range(9)]
        )
        self.tokens_in = counter("zoo_prompt_tokens", "Tokens of prompts and sources")
        self.tokens_out = counter("zoo_generation_tokens", "Tokens written")
        self.cancelled = counter("zoo_requests_cancelled", "Given up by the client")
        self.rejected = counter("zoo_requests_rejected", "Refused since too many wait")
        self.failures = counter("zoo_engine_failures", "A model failed and began anew")
