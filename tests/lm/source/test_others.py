import logging

from trimwave.lm.source.others import quiet_bitsandbytes


def test_bitsandbytes_may_not_chat_while_it_is_imported(caplog):
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    with quiet_bitsandbytes():
        logger.warning("Failed to load CPU gemm_4bit_forward from kernels-community")
        logger.error("a real fault")
    logger.warning("afterwards")
    assert [record.message for record in caplog.records] == [
        "a real fault",
        "afterwards",
    ]
