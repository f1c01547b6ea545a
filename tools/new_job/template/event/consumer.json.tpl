{
  "name": "<job>-consumer",
  "durable_name": "<job>-consumer",
  "description": "Events and due retries for <job>",
  "filter_subjects": ["<subject>", "retry.due.<job>"],
  "deliver_policy": "all",
  "ack_policy": "explicit",
  "replay_policy": "instant",
  "ack_wait": 60000000000,
  "max_deliver": -1,
  "max_ack_pending": 1000,
  "max_waiting": 512
}
